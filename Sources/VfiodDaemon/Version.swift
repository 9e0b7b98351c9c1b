/// The version of this package.
public let vfiodVersion = "0.1.0"
