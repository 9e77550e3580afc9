"""From the public data set to the table and photographs that training reads."""

TABLE = "cleaned_styles.csv"  # in the folder that clean_data writes
