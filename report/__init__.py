"""From notebooks to paper: tables, claims, pictures, typesetting.

`files`, `results`, `claims` and `figures` are what the notebooks import; `execute`,
`exporter`, `report.lua` and `report.typ` turn the executed notebooks into one PDF.
"""
