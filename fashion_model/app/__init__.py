"""The page: one file a tab, handlers apart from layout. The only room that imports gradio."""
