"""What training did to the model, measured; sees adapters and sampling, never the trainer."""
