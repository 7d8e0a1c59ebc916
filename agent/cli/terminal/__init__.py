"""What the commands print: tables, trees, pictures, progress. Knows neither the loop nor torch."""
