"""Class activation maps (Grad-CAM and its kin) and the overlays that show them."""
