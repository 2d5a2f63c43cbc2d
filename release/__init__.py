"""`make release`: wheels, the chart, image archives, their bills of materials and checksums, from a clean tree."""
