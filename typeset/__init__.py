"""From an executed notebook to pages; it knows nothing of networks.

`execute` runs a notebook, `outputs` and `markdown` say what of it can be printed,
`exporter` and `report.lua` make a chapter of it, and `report.typ` binds the chapters.
`lock` keeps two builds apart, `watch` shows how far one is.
"""
