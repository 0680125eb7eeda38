"""Runs a critic's forward without second derivatives that are known to be zero."""
