namespace ballast::launch {}
