"""See, change, check: plans of bulk operations. Nothing here is imported before the first plan."""
