"""Graphs, trees and breakdowns as files, pages, figures, notebook summaries and text."""
