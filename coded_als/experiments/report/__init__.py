"""Reports: one offline HTML file with figures from stored results."""
