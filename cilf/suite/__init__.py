"""Systems of the field side by side: trained alike, measured alike, in one table. `cilf evaluate --suite`."""
