"""Pictures drawn from hashes of the prompt, with Pillow."""
