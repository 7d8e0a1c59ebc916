"""Work divided among workers that each hold a subject of their own: processes here, or actors of a Ray cluster."""
