"""Graphs and trees in files: what each format writes, and how it is read back.

    graph_json.py       .json, .json.gz          the package's own, checked against schema.json; loses nothing
    tree_json.py        .json                    trees, checked against the same schema
    tables.py           .csv, .parquet           nodes and edges as a pair of tables
    networks.py         .graphml, .gexf, .node-link.json
    diagrams.py         .dot, .gv, .mmd, .mermaid
    circuit_viewers.py  .circuit.json            circuit-tracer's and Neuronpedia's viewers

What can be read back goes through one gate, ``graph_document.py``: a graph comes out of it sound, or an error tells why
not. Which formats there are, pages and pictures among them, is in :mod:`recursive_dla.output.saving`.
"""
