"""How `make lab` reads and writes notebooks.

JupyterLab notes in every notebook which Python has opened it, and calls that a change.
Here the note is made when a notebook is read, and taken out when it is written. So are
pictures of widgets, which live as long as their kernel.
"""

import platform

from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager

WIDGET = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python"}
LANGUAGE = {
    "codemirror_mode": {"name": "ipython", "version": 3},
    "file_extension": ".py",
    "mimetype": "text/x-python",
    "name": "python",
    "nbconvert_exporter": "python",
    "pygments_lexer": "ipython3",
    "version": platform.python_version(),
}


class Contents(AsyncLargeFileManager):
    """The files of a folder; notebooks are stored without what differs elsewhere."""

    async def get(self, path, content=True, type=None, **more):
        """Return a file or a folder."""
        model = await super().get(path, content, type, **more)
        if content and model["type"] == "notebook":
            model["content"]["metadata"]["language_info"] = LANGUAGE
        return model

    async def save(self, model, path=""):
        """Save a file."""
        if model.get("type") == "notebook":
            metadata = model["content"]["metadata"]
            metadata["language_info"] = {"name": "python"}
            metadata["kernelspec"] = KERNEL | {"name": "python3"}
            for cell in model["content"]["cells"]:
                if "outputs" in cell:
                    cell["outputs"] = [*filter(lasting, cell["outputs"])]
        return await super().save(model, path)


def lasting(output):
    """Return whether an output is more than the picture of a widget."""
    return WIDGET not in output.get("data", {})
