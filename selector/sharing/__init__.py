"""A hand-over for others: its model card, and the Hugging Face Hub."""
