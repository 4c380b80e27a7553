"""Plots for papers and reports, drawn with matplotlib."""
