"""The network: its configuration, backbone, heads, and the classifier made of them."""
