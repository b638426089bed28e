"""From notebooks to paper: tables, claims, pictures, typesetting.

`files`, `results`, `claims`, `tables` and `figures` are what the notebooks import;
`execute`, `exporter`, `report.lua` and `report.typ` turn them, executed, into one PDF.
"""
