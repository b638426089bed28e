"""The playground: a network seen while it learns, and how JupyterLab is opened."""
