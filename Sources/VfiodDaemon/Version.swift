internal import VfiodAPI

/// The version of vfiod.
public let vfiodVersion = VfiodInterface.packageVersion
