"""Teach a diffusion model a concept from a few pictures, without forgetting anything else."""
