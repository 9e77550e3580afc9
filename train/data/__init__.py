"""What a network is trained and measured on: tables, photographs of each domain, masks, augmentation, sampling."""
