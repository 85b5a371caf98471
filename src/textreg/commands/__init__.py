"""What the verbs do, behind their flags."""
