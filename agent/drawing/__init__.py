"""A definition tree as a picture: one layout, drawn as SVG, DOT or PNG for files, pages and notebooks."""
