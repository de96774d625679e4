"""How a network is run: forward passes and what is asked of them, masked clips, and what makes them cheap."""
