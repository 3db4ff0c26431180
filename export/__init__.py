"""A trained run becomes graphs for each engine, each with its proof."""
