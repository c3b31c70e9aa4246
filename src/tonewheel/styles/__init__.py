"""Styles as data: what each genre is made of, the instruments it may use, and how names find it."""
