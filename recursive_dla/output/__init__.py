"""What leaves the package: files, figures, the explorer's page, notebooks, the terminal. Works on plain data.

style.py                      colours, numbers and units
places.py, geometry.py        where the nodes of a graph stand when it is drawn; what figures and explorer draw alike
terminal.py                   lines, tables and coloured numbers of a terminal
summary_text.py, tree_text.py what ``print`` gives
files/                        formats, in and out; graph_document.py is the gate that all graphs read go through
figures/                      plotly figures, each with a DataFrame of its numbers
explorer/                     one graph as one offline web page
notebook/                     what notebooks show
trace_report.py               what ``recursive-dla trace`` prints
saving.py                     which formats there are; the end of a path's name chooses
file_facts.py, page_server.py what is in a saved graph; its page on this machine's own address
"""
