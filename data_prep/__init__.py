"""From the public data set to the table and photographs that training reads."""
