module example.org/waterspout

go 1.25
