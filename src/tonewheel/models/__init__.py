"""One folder a family: its cards, its request and response types, and the code that loads and runs it.

`base` is the contract, `registry` finds the families. Adding a family adds a folder here, or a package
elsewhere with an entry point in the group `tonewheel.models`, and touches nothing else.
"""
