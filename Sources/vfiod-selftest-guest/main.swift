internal import Glibc
internal import SelfTestGuest

exit(SelfTestGuestProcess.main())
