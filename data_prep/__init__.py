"""Turns public data sets into the cleaned table, the splits and the photographs that training and evaluation read."""

TABLE = "cleaned_styles.csv"  # file name in the data folder; `clean_data` writes it
