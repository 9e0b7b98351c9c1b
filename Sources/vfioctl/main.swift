internal import ArgumentParser
internal import VfioctlCommands

Vfioctl.main()
