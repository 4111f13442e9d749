"""`cilf evaluate --suite`: train and measure several systems under the same conditions, and compare them in tables."""
