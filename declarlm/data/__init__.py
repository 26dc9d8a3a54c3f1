"""Rows: tables read from anywhere, their splits, and what is stored of them between epochs and runs."""
