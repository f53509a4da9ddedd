"""What leaves the package: files, figures, the explorer's page, notebooks, the terminal. Works on plain data.

style.py, places.py      colours, numbers and units; where the nodes of a graph stand when it is drawn
text.py, tree_text.py    what ``print`` gives
files/                   formats, in and out; document.py is the gate that all that is read goes through
figures/                 plotly figures, each with a DataFrame of its numbers
explorer/                one graph as one offline web page
notebook.py              what notebooks show
trace_report.py          what ``recursive-dla trace`` prints
saving.py                which formats there are; the end of a path's name chooses
file_facts.py, serve.py  what is in a saved graph; its page on this machine's own address
"""
