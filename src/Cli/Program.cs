Console.Error.WriteLine("foretoken: no command");
return 2;
