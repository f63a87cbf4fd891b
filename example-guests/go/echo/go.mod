module example.org/echo

go 1.25

require example.org/waterspout v0.0.0

replace example.org/waterspout => ../../../guest-sdk/go
