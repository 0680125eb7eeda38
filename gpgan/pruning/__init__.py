"""A critic's forward without second derivatives that are zero."""
