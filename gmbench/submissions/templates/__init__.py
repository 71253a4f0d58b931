"""What `gmbench new` starts a method from: each kind runs as it stands, as 'My method', class `MyMethod`."""
