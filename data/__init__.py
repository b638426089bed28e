"""The datasets: `matfile` reads a file and checks it, `recipes` drew the three."""
