"""What PPS does for every answer at every stage of a delivery, found out on a scripted server."""
