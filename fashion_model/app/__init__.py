"""The page and the endpoints: one file a tab, events apart from layout. Only this package imports gradio."""
