"""What all producers share; a producer module only observes."""
