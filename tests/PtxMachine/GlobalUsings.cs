// What runs an instruction on the lanes of a warp that execute it.
global using unsafe Handler = delegate*<Foretoken.Ptx.Execution.Warp, Foretoken.Ptx.Execution.Instruction*, uint, void>;
