"""Attribution trees: what feeds an answer, what feeds that, path by path."""
