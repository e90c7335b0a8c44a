"""The pages of ``nkfast docs``: found and shown, and what of them is written by nkfast itself."""
